"""Weights of other projects: read and written in their own layouts, without their frameworks."""

"""Scores and pages made from them."""

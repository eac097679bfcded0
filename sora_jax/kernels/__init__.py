"""Attention backends behind one entry point."""

"""Runs side by side: what they differ in, how good each is, what it cost."""

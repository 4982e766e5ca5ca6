"""Nodes as processes of their own, and a client that drives them from outside."""

"""Rankers in the shapes that other projects' evaluators ask for."""

"""Rankers that hold rankers: one file for each way to compose them, and one for what all of them share."""

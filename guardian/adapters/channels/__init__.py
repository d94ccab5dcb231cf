"""Channels: one destination a file, all of them with one deadline and one way of failing."""

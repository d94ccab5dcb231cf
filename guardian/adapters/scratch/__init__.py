"""Scratch servers: embedded ones that are thrown away."""

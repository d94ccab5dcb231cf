"""Heartbeats: dead man's switches that notice when guardian itself has gone silent."""

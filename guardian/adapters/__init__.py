"""Edges: one folder or file a technology. An adapter imports no service and no other adapter."""

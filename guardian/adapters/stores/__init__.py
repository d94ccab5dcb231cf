"""Stores: local folders, S3 buckets, memory; retrying as a decorator over the same port."""

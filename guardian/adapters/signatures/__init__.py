"""Signatures of documents in stores: by means of the passphrase, and by OpenPGP keys."""

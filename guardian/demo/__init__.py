"""The demo's sample database: ``mina``, a meeting-transcription product.

``sample.sql`` draws the tables, ``sample_rows.sql`` fills them, ``sample_rest.sql`` adds what is
quicker once rows are there; :mod:`guardian.demo.seed` runs the three.
"""

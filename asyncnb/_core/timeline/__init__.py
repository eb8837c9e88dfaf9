"""Recorded tasks as numbers, text, pictures and Chrome traces."""

"""Embeddings of graphs, trees and sequences, and columns derived from them. Source: FEATURES §3.6."""

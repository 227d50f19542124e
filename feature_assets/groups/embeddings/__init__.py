"""Embeddings of graphs, trees and sequences, and what is read off them. Source: FEATURES §3.6."""

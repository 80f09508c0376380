"""MoE: a router sends each token to ``top_k`` of many feed-forward experts."""

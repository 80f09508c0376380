"""Dense: the feed-forward block, gated or plain."""

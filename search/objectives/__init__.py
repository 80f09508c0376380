"""What designs can be judged by: training, a published law, and whatever users bring."""

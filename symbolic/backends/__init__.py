"""Search backends behind one protocol: each proposes trees, and `symbolic` scores, chooses and explains
them.
"""

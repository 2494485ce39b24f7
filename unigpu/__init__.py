"""The pure core of unigpu: requests, placement, limits, lending, and the formats that carry them. No I/O."""

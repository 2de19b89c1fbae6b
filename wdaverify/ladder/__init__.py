"""The ladder: certificates above, attacks below, the exact bracket in the middle, on one scale."""

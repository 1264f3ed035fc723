"""What runs once per program or per connection attempt, in Python: policy, not per-event work."""

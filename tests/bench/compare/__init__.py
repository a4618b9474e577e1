"""What `tests/bench/run` is made of: rivals, loads, scenarios, rounds and the tables of what they measured."""

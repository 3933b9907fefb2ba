"""What strangers may send: good files of every kind that is read, what damages them, and files made to do harm.

Shared by the tests in `e2e/` and `spinn/`, and by `hostile_page.py`; holds no test itself.
"""

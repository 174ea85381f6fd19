"""Networks of other libraries, compared with ours: `make parity`."""

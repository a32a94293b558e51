"""One file per sub-command of `safegrpo`."""

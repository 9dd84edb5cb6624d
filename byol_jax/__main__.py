"""The command `byol_jax`, and `python -m byol_jax`: `python -m byol_jax.main`."""

import runpy


def main() -> None:
  """Runs byol_jax.main as a program, so that it hears signals from its beginning."""
  runpy.run_module('byol_jax.main', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main()

"""All rows of the matrix, in the order in which they are run."""

# pylint: disable=unused-import
import checkpoint_input_rows
import checkpoint_rows
import general_rows
import process_rows
import run_rows
from harness import ROWS

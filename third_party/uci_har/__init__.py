"""UCI HAR: smartphone recordings of six activities."""

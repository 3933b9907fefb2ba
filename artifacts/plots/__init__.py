"""The paper's figures, a file each kind: what is drawn from which frames and tables, and how it reads as text."""

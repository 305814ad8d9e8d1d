"""Songs to pairs of vocals and accompaniment: `accompany prepare`."""

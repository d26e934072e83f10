package folder

import "testing"

// TestDeletedBelowARename: one node deletes a file while another renames the directory
// that it is in. It is gone everywhere, without a restart.
func TestDeletedBelowARename(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"cut", "held"} {
		t.Run(cut, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3)
			a, b := c.nodes[0], c.nodes[1]
			a.write("d/x", "x")
			a.write("d/s/y", "y")
			a.write("d/z", "z")
			c.settled()
			b.set(cut == "cut", cut == "held")
			a.remove("d/x")
			a.remove("d/s")
			a.committed()
			b.rename("d", "e")
			b.captured()
			c.done()
			b.has("e/z", "z")
			b.gone("e/x")
			b.gone("e/s")
		})
	}
}

package reconcile

import (
	"testing"

	"github.com/lockstep-sync/lockstep/meta"
)

// BenchmarkDecide decides all of the small world's situations, one after the other;
// most that a daemon meets are the last two.
func BenchmarkDecide(b *testing.B) {
	all := worlds()
	agree := world{h: Head{Revision: 1, Entry: entries["file a"]}, d: Disk{Stat: statOf(entries["file a"], 1)},
		r: Recorded{Lineage: Held, Base: meta.Base{Revision: 1}, Entry: entries["file a"], Stat: statOf(entries["file a"], 1)}}
	fresh := world{h: Head{Revision: 2, Entry: entries["file b"]}}
	for name, ws := range map[string][]world{"all": all, "agree": {agree}, "bring": {fresh}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var d Decision
			for i := range b.N {
				w := &ws[i%len(ws)]
				d = Decide("dir/path", w.h, w.q, w.r, w.d)
			}
			if name == "bring" && d.Action != Materialize || name == "agree" && d.Action != Nothing {
				b.Error(d)
			}
		})
	}
}

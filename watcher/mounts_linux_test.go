package watcher

import (
	"strings"
	"testing"
)

func TestMountsAround(t *testing.T) {
	t.Parallel()
	table := `22 1 0:21 / / rw - ext4 /dev/a rw
23 22 0:22 / /home rw,relatime shared:1 - ext4 /dev/b rw
24 23 0:23 / /home/me/my\040docs rw - tmpfs t rw
25 24 0:24 / /home/me/my\040docs/inner rw - tmpfs t rw
26 23 0:25 / /home/me/my\040docs2 rw - tmpfs t rw
27 22 0:26 / /var rw - tmpfs t rw
damaged line
`
	got, err := mountsAround(strings.NewReader(table), "/home/me/my docs")
	if want := "22 /\n23 /home\n24 /home/me/my docs\n25 /home/me/my docs/inner\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for in, want := range map[string]string{`a\134b`: `a\b`, `a\`: `a\`, `\04`: `\04`, `\999`: `\999`, `\012x`: "\nx"} {
		if got := unescapeMount(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

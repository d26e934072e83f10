package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	var out bytes.Buffer
	p := &progress{w: &out, now: func() time.Time { return now }, label: "restore", next: now.Add(lineEvery)}
	p.show(1, 4, "1 of 4 files")
	if out.Len() > 0 {
		t.Errorf("a quick command says %q", out.String())
	}
	for i := range 100 {
		now = now.Add(lineEvery / 10)
		p.show(int64(i), 100, "files")
	}
	p.clear()
	if got := strings.Count(out.String(), "\n"); got != 10 || strings.Contains(out.String(), "\r") || !strings.Contains(out.String(), "restore: 9% files\n") {
		t.Errorf("plain lines %q", out.String())
	}

	out.Reset()
	p = &progress{w: &out, now: func() time.Time { return now }, term: true, label: "restore"}
	p.show(1, 2, strings.Repeat("ä", 100))
	p.clear()
	p.clear()
	want := "\r\x1b[Krestore:  50% [############............] " + strings.Repeat("ä", 37) + "…\r\x1b[K"
	if got := out.String(); got != want {
		t.Errorf("bar %q, want %q", got, want)
	}
}

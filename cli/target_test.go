package cli

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	const cwd = "/home/u/docs"
	type want struct {
		folder, rel, local string
		bad                bool
	}
	for arg, w := range map[string]want{
		"docs":          {folder: "docs", local: "/home/u/docs/docs"},
		"a.txt":         {folder: "a.txt", local: "/home/u/docs/a.txt"},
		"README":        {local: "/home/u/docs/README"},
		"docs:":         {folder: "docs"},
		"docs:.":        {folder: "docs"},
		"docs:a/b":      {folder: "docs", rel: "a/b"},
		"docs:a//b/./c": {folder: "docs", rel: "a/b/c"},
		"docs:dir/":     {folder: "docs", rel: "dir"},
		"docs:a:b":      {folder: "docs", rel: "a:b"},
		"docs:a\xff":    {folder: "docs", rel: "a\xff"},
		"docs:../x":     {bad: true},
		"docs:a/../b":   {bad: true},
		"docs:/a":       {bad: true},
		"./docs":        {local: "/home/u/docs/docs"},
		"./docs:a":      {local: "/home/u/docs/docs:a"},
		"../x":          {local: "/home/u/x"},
		".":             {local: "/home/u/docs"},
		"/abs/p/":       {local: "/abs/p"},
		"/a:b":          {local: "/a:b"},
		"a/b":           {local: "/home/u/docs/a/b"},
		"a/b:c":         {local: "/home/u/docs/a/b:c"},
		"Docs:a":        {local: "/home/u/docs/Docs:a"},
		":a":            {local: "/home/u/docs/:a"},
		"":              {bad: true},
		"a\x00b":        {bad: true},
	} {
		t.Run(arg, func(t *testing.T) {
			got, err := ParseTarget(arg, cwd)
			if w.bad {
				if control.CodeOf(err) != control.CodeUsage {
					t.Errorf("got %+v, %v, want wrong usage", got, err)
				}
				return
			}
			exp := control.Target{Folder: w.folder, Rel: control.RawPath(w.rel), Local: control.RawPath(w.local)}
			if err != nil || got != exp {
				t.Errorf("got %+v, %v, want %+v", got, err, exp)
			}
		})
	}
}

func TestParseTargetRev(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("here", 3600)
	now := time.Date(2026, 11, 23, 15, 4, 5, 0, zone)
	at := func(y int, m time.Month, d, h, min int) time.Time { return time.Date(y, m, d, h, min, 0, 0, zone) }
	for arg, w := range map[string]struct {
		folder, rel string
		rev         control.Rev
		bad         string
	}{
		"docs@12":                     {folder: "docs", rev: control.Rev{Kind: control.RevNumber, Number: 12}},
		"docs@0":                      {folder: "docs", rev: control.Rev{Kind: control.RevNumber}},
		"docs:a/b.txt@12":             {folder: "docs", rel: "a/b.txt", rev: control.Rev{Kind: control.RevNumber, Number: 12}},
		"docs:a@b@3":                  {folder: "docs", rel: "a@b", rev: control.Rev{Kind: control.RevNumber, Number: 3}},
		"docs@head":                   {folder: "docs", rev: control.Rev{Kind: control.RevHead}},
		"docs@head~3":                 {folder: "docs", rev: control.Rev{Kind: control.RevHead, Back: 3}},
		"docs@v1.0":                   {folder: "docs", rev: control.Rev{Kind: control.RevTag}},
		"docs@2026-11-23T10:00":       {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: at(2026, 11, 23, 10, 0)}},
		"docs@2026-11-22":             {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: at(2026, 11, 22, 0, 0)}},
		"docs@2026-11-23T10:00:00Z":   {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: at(2026, 11, 23, 11, 0)}},
		"docs@2h ago":                 {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: now.Add(-2 * time.Hour)}},
		"docs@3d ago":                 {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: now.Add(-72 * time.Hour)}},
		"docs@yesterday 14:00":        {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: at(2026, 11, 22, 14, 0)}},
		"docs@today":                  {folder: "docs", rev: control.Rev{Kind: control.RevTime, Time: at(2026, 11, 23, 0, 0)}},
		"docs":                        {bad: "which version"},
		"docs@":                       {bad: "empty"},
		"@12":                         {bad: "path: empty"},
		"docs@head~":                  {bad: "head~N"},
		"docs@head~-1":                {bad: "head~N"},
		"docs@head~+1":                {bad: "head~N"},
		"docs@-1":                     {bad: "want a number"},
		"docs@99999999999999999999":   {bad: "too large"},
		"docs@tomorrow at noon":       {bad: "want a number"},
		"docs@yesterday 25:00":        {bad: "want a number"},
		"docs@70000000000000000h ago": {bad: "want a number"},
	} {
		t.Run(arg, func(t *testing.T) {
			got, rev, err := ParseTargetRev(arg, "/w", now)
			if w.bad != "" {
				if control.CodeOf(err) != control.CodeUsage || !strings.Contains(err.Error(), w.bad) {
					t.Errorf("got %v, %v, %v, want wrong usage with %q", got, rev, err, w.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Folder != w.folder || string(got.Rel) != w.rel {
				t.Errorf("got %+v", got)
			}
			if rev.Kind != w.rev.Kind || rev.Number != w.rev.Number || rev.Back != w.rev.Back || !rev.Time.Equal(w.rev.Time) {
				t.Errorf("got %+v, want %+v", rev, w.rev)
			}
		})
	}
}

func FuzzParseTargetRev(f *testing.F) {
	for _, s := range []string{"docs@12", "docs:a/b@head~2", "/a/b@2h ago", "a@b@c", "docs:..@1", "x@1w ago", "./a@yesterday 14:00"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 23, 15, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, arg string) {
		got, rev, err := ParseTargetRev(arg, "/w", now)
		if err != nil {
			if control.CodeOf(err) != control.CodeUsage {
				t.Fatalf("%q: error of class %q", arg, control.CodeOf(err))
			}
			return
		}
		if got.Folder == "" && got.Local == "" {
			t.Fatalf("%q: names nothing", arg)
		}
		if l := string(got.Local); l != "" && (!filepath.IsAbs(l) || filepath.Clean(l) != l) {
			t.Fatalf("%q: local path %q is not absolute and clean", arg, l)
		}
		for c := range strings.SplitSeq(string(got.Rel), "/") {
			if c == ".." || c == "." || (c == "" && got.Rel != "") {
				t.Fatalf("%q: relative path %q is not clean", arg, got.Rel)
			}
		}
		if rev.Kind == control.RevTime && rev.Time.IsZero() && !strings.HasPrefix(rev.Text, "0001-01-01") {
			t.Fatalf("%q: a time without a time", arg)
		}
		if !strings.HasSuffix(arg, "@"+rev.Text) {
			t.Fatalf("%q: revision text %q", arg, rev.Text)
		}
	})
}

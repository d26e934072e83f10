package id

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTextRoundTrip(t *testing.T) {
	d := Sum([]byte("x"))
	if got, err := ParseDigest(d.String()); got != d || err != nil {
		t.Errorf("digest: %v, %v", got, err)
	}
	f := NewFolder()
	if got, err := ParseFolder(f.String()); got != f || err != nil {
		t.Errorf("folder: %v, %v", got, err)
	}
	c := NewCluster()
	if got, err := ParseCluster(c.String()); got != c || err != nil {
		t.Errorf("cluster: %v, %v", got, err)
	}
	n := Node(d)
	if got, err := ParseNode(n.String()); got != n || err != nil {
		t.Errorf("node: %v, %v", got, err)
	}
	for _, bad := range []string{"", "00", strings.ToUpper(d.String()), d.String() + "0", strings.Repeat("g", 64)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q parses as a digest", bad)
		}
	}
}

// The hash is the one that b3sum prints.
func TestSumIsPlainBLAKE3(t *testing.T) {
	const want = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	if got := Sum(nil).String(); got != want {
		t.Errorf("the hash of nothing is %s, want %s", got, want)
	}
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{"a", "a/b", "a b\n", "\xff\xfe", "...", "a/.lockstep", ".lockstepignore", "-rf", strings.Repeat("x", 255)} {
		if _, err := ParsePath(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "../a", "a\x00b", ".lockstep", ".LockStep/x", strings.Repeat("x", 256), strings.Repeat("x/", 2048) + "x"} {
		if _, err := ParsePath(bad); !errors.Is(err, ErrBadPath) {
			t.Errorf("%.40q is accepted: %v", bad, err)
		}
	}
}

func TestPathAlgebra(t *testing.T) {
	component := rapid.StringMatching(`[a-c]{1,2}`)
	path := rapid.Custom(func(t *rapid.T) Path {
		return Path(strings.Join(rapid.SliceOfN(component, 1, 5).Draw(t, "components"), "/"))
	})
	rapid.Check(t, func(t *rapid.T) {
		p, q := path.Draw(t, "p"), path.Draw(t, "q")
		if p.Dir().Join(p.Base()) != p {
			t.Fatalf("%q is not its Dir and Base", p)
		}
		below := false
		for at := p.Dir(); at != ""; at = at.Dir() {
			below = below || at == q
		}
		if p.Below(q) != below || p.Within(q) != (below || p == q) || !p.Within("") {
			t.Fatalf("%q below %q: %v", p, q, p.Below(q))
		}
		if p.Within(q) && p.Rebase(q, "z/y").Rebase("z/y", q) != p {
			t.Fatalf("%q rebased from %q to z/y and back is %q", p, q, p.Rebase(q, "z/y").Rebase("z/y", q))
		}
		if p.Depth() != strings.Count(string(p), "/")+1 || Path("").Depth() != 0 {
			t.Fatalf("depth of %q is %d", p, p.Depth())
		}
		if !p.Within(Path(p.First())) {
			t.Fatalf("%q is not within its first component %q", p, p.First())
		}
	})
}

func TestMakeName(t *testing.T) {
	for in, want := range map[string]string{
		"Photos": "photos", "My Files": "my-files", "_x": "x", "": "fallback", "..": "fallback", "a/b": "a-b", "Ünï": "n--", "über": "ber",
	} {
		got := MakeName(in, "fallback")
		if in == "Ünï" || in == "über" { // bytes that are not ASCII become dashes; the exact number does not matter
			if CheckName(got) != nil {
				t.Errorf("MakeName(%q) = %q is no name", in, got)
			}
			continue
		}
		if got != want {
			t.Errorf("MakeName(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		if err := CheckName(MakeName(s, "x")); err != nil {
			t.Fatalf("MakeName(%q): %v", s, err)
		}
	})
}

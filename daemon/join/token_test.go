package join

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func sampleToken() Token {
	return Token{
		Cluster:   id.Cluster{1, 2, 3},
		Inviter:   id.Node{4, 5, 6},
		Secret:    Secret{7, 8, 9},
		Role:      meta.RoleVoter,
		Addresses: []string{"192.0.2.1:7417", "[2001:db8::1]:7417", "host.example:1"},
	}
}

// The format is final: a token made by one version must work with another.
func TestTokenGolden(t *testing.T) {
	t.Parallel()
	const golden = "lockstep1-AQIDAAAAAAAAAAAAAAAAAAQFBgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABwgJAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABAwAOMTkyLjAuMi4xOjc0MTcAElsyMDAxOmRiODo6MV06NzQxNwAOaG9zdC5leGFtcGxlOjE"
	got := sampleToken().String()
	if !strings.HasPrefix(got, golden) {
		t.Errorf("got %s, want %s + checksum", got, golden)
	}
	back, err := ParseToken(" " + got + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, sampleToken()) {
		t.Errorf("got %+v", back)
	}
}

func TestTokenRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tok := Token{
			Cluster: id.NewCluster(),
			Inviter: id.Node(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "inviter")),
			Secret:  NewSecret(),
			Role:    meta.Role(rapid.IntRange(0, 2).Draw(t, "role")),
			Addresses: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
				return fmt.Sprintf("%s:%d", rapid.StringMatching(`[a-z0-9.]{1,250}`).Draw(t, "host"),
					rapid.IntRange(1, 65535).Draw(t, "port"))
			}), 1, MaxAddresses).Draw(t, "addresses"),
		}
		if tok.Inviter.IsZero() {
			t.Skip()
		}
		text := tok.String()
		got, err := ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, tok) {
			t.Fatalf("got %+v, want %+v", got, tok)
		}
		// Any changed, lost or added character is noticed.
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		for _, bad := range []string{text[:i] + text[i+1:], text[:i] + "#" + text[i+1:], text[:i], text[:i] + "\n" + text[i:]} {
			if i == 0 && strings.HasPrefix(bad, "\n") {
				continue // blanks around are ignored
			}
			if _, err := ParseToken(bad); !errors.Is(err, ErrBadToken) {
				t.Fatalf("ParseToken(%q): %v, want ErrBadToken", bad, err)
			}
		}
	})
}

func TestTokenDoesNotLeak(t *testing.T) {
	t.Parallel()
	tok := sampleToken()
	for _, s := range []string{fmt.Sprint(tok.Secret), fmt.Sprintf("%v %+v %#v", tok.Secret, tok.Secret, tok.Secret), tok.LogValue().String()} {
		if strings.Contains(s, "7 8 9") || strings.Contains(s, "0x7") || strings.Contains(s, "070809") {
			t.Errorf("shows the secret: %s", s)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"127.0.0.1:7417": true, "[::1]:1": true, "a.b.c:65535": true,
		"": false, "a": false, ":7417": false, "a:0": false, "a:65536": false, "a:x": false,
		"a b:1": false, "a\n:1": false, "é:1": false, strings.Repeat("a", 300) + ":1": false,
	}
	for a, want := range cases {
		if err := CheckAddress(a); (err == nil) != want {
			t.Errorf("CheckAddress(%q) = %v", a, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(sampleToken().String())
	f.Add(TokenPrefix)
	f.Add(TokenPrefix + "AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			if !errors.Is(err, ErrBadToken) {
				t.Errorf("%v is not ErrBadToken", err)
			}
			return
		}
		if got := tok.String(); got != strings.TrimSpace(s) {
			t.Errorf("two spellings of one token: %q, %q", s, got)
		}
	})
}

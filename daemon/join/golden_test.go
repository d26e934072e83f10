package join

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestGoldenTokenText holds a whole token, its checksum included.
func TestGoldenTokenText(t *testing.T) {
	t.Parallel()
	text := strings.TrimSpace(golden.Text(t, "token.golden", sampleToken().String()+"\n"))
	got, err := ParseToken(text)
	if err != nil || !reflect.DeepEqual(got, sampleToken()) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for at := range text {
		if _, err := ParseToken(text[:at]); !errors.Is(err, ErrBadToken) {
			t.Errorf("cut to %d: %v", at, err)
		}
		for bit := range 7 {
			bad := []byte(text)
			bad[at] ^= 1 << bit
			if strings.TrimSpace(string(bad)) == text {
				continue
			}
			if _, err := ParseToken(string(bad)); !errors.Is(err, ErrBadToken) {
				t.Errorf("%q at %d: %v", bad[at], at, err)
			}
		}
	}
}

// TestGoldenRequest holds the one message that is read of a stranger.
func TestGoldenRequest(t *testing.T) {
	t.Parallel()
	want := wireRequest{Cluster: id.Cluster{1, 2, 3}, Secret: id.Digest{7, 8, 9}, Name: "laptop", Advertise: "192.0.2.1:7417"}
	var b bytes.Buffer
	if err := writeFrame(&b, want, MaxRequest); err != nil {
		t.Fatal(err)
	}
	head := b.Next(4)
	stored := strings.TrimSuffix(golden.Text(t, "request.golden", b.String()+"\n"), "\n")
	if n := len(stored); !bytes.Equal(head, []byte{0, 0, byte(n >> 8), byte(n)}) {
		t.Errorf("length %x before %d bytes", head, n)
	}
	frame := string(head) + stored
	var got wireRequest
	if err := readFrame(strings.NewReader(frame), &got, MaxRequest); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for at := range frame {
		if err := readFrame(strings.NewReader(frame[:at]), &got, MaxRequest); err == nil {
			t.Errorf("cut to %d bytes and accepted", at)
		}
	}
}

package chunks

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestCompress: what is sent compressed is what shrinks, and comes back as it was; what
// is compressed already is not tried.
func TestCompress(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("object.go")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Repeat(text, 64<<10/len(text)+1)[:64<<10]
	random := make([]byte, 64<<10)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(random)
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	for packed.Len() < 64<<10 {
		line := make([]byte, 48) // text that does not repeat
		_, _ = src.Read(line)
		_, _ = zw.Write([]byte(base64.StdEncoding.EncodeToString(line) + "\n"))
	}
	executable, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		data   []byte
		dense  bool
		shrunk bool
	}{
		{"nothing", nil, false, false},
		{"a line", []byte("too short to try\n"), false, false},
		{"text", text, false, true},
		{"short text", text[:1000], false, true},
		{"zeros", make([]byte, 64<<10), false, true},
		{"machine code", executable[len(executable)/4:][:64<<10], false, true},
		{"random", random, true, false},
		{"little that is random", random[:1000], false, false},
		{"gzip", packed.Bytes()[:64<<10], true, false},
		{"half random, half zeros", append(random[:32<<10:32<<10], make([]byte, 32<<10)...), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Dense(c.data); got != c.dense {
				t.Errorf("Dense: got %v, want %v", got, c.dense)
			}
			small, ok := Compress(c.data)
			if ok != c.shrunk {
				t.Fatalf("shrunk: got %v, %d of %d bytes, want %v", ok, len(small), len(c.data), c.shrunk)
			}
			if !ok {
				return
			}
			if len(small) > len(c.data)-len(c.data)/16 {
				t.Errorf("%d of %d bytes", len(small), len(c.data))
			}
			back, err := Decode(Chunk, id.Sum(c.data), small, true, len(c.data), nil)
			if err != nil || !bytes.Equal(back, c.data) {
				t.Errorf("read back: %d of %d bytes, %v", len(back), len(c.data), err)
			}
		})
	}
}

// TestDenseIsSteady: no random chunk, of any length, is taken for one that shrinks.
func TestDenseIsSteady(t *testing.T) {
	t.Parallel()
	src := rand.NewChaCha8([32]byte{2})
	r := rand.New(src)
	for range 2000 {
		data := make([]byte, 4096+r.IntN(256<<10))
		_, _ = src.Read(data)
		if !Dense(data) {
			t.Fatalf("%d random bytes are not taken for such", len(data))
		}
	}
}

func BenchmarkCompress(b *testing.B) {
	text, err := os.ReadFile("object.go")
	if err != nil {
		b.Fatal(err)
	}
	random := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	for name, data := range map[string][]byte{"text": bytes.Repeat(text, 10), "random": random} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				Compress(data)
			}
		})
	}
}

package events

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// show is "kind:seq …" of what a reader gets at once.
func show(t *testing.T, l *Log, c Cursor) (s string, next Cursor) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	list, next, err := l.Next(ctx, c)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, e := range list {
		s += fmt.Sprintf("%s:%d ", e.Kind, e.Seq)
	}
	return s, next
}

func TestResume(t *testing.T) {
	t.Parallel()
	l := New(4)
	for _, k := range []string{"a", "b", "c"} {
		l.Add(Event{Kind: k})
	}
	got, c := show(t, l, Cursor{})
	if got != "a:1 b:2 c:3 " || c.Seq != 3 {
		t.Errorf("from the start: %s, %+v", got, c)
	}
	if got, _ := show(t, l, c); got != "" {
		t.Errorf("nothing new: %s", got)
	}
	l.Add(Event{Kind: "d"}, Event{Kind: "e"})
	if got, _ := show(t, l, c); got != "d:4 e:5 " {
		t.Errorf("resumed: %s", got)
	}
	for want, from := range map[string]Cursor{
		"b:2 c:3 d:4 e:5 ":       {Epoch: l.epoch, Seq: 1},
		"gap:1 b:2 c:3 d:4 e:5 ": {Epoch: "another", Seq: 3},
	} {
		if got, _ := show(t, l, from); got != want {
			t.Errorf("from %+v: %s, want %s", from, got, want)
		}
	}
	l.Add(Event{Kind: "f"}, Event{Kind: "g"})
	for want, from := range map[string]Cursor{
		"d:4 e:5 f:6 g:7 ":       {},
		"gap:3 d:4 e:5 f:6 g:7 ": {Seq: 1},
	} {
		if got, _ := show(t, l, from); got != want {
			t.Errorf("from %+v: %s, want %s", from, got, want)
		}
	}
	if got, _ := show(t, l, Cursor{Seq: 99}); got != "gap:3 d:4 e:5 f:6 g:7 " {
		t.Errorf("from the future: %s", got)
	}
	if got, c := show(t, New(4), Cursor{Epoch: "another", Seq: 3}); got != "gap:0 " || c.Seq != 0 {
		t.Errorf("of a new daemon: %s, %+v", got, c)
	}
}

func TestNextWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(4)
		got := make(chan string)
		go func() {
			list, _, err := l.Next(t.Context(), Cursor{})
			got <- fmt.Sprint(len(list), err)
		}()
		synctest.Wait()
		l.Add()
		l.Add(Event{Kind: "a"})
		if g := <-got; g != "1 <nil>" {
			t.Errorf("got %s", g)
		}
	})
}

// Many writers and readers: each reader sees each number once, in order, or a gap.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	const writers, each = 4, 500
	l := New(64)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers, wg sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var c Cursor
			at := uint64(0)
			for at < writers*each {
				list, next, err := l.Next(ctx, c)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range list {
					if e.Kind == Gap || at == 0 {
						at = e.Seq
					} else if at++; e.Seq != at {
						t.Errorf("got %d, want %d", e.Seq, at)
						return
					}
				}
				c = next
			}
		})
	}
	for range writers {
		wg.Go(func() {
			for range each {
				l.Add(Event{Kind: "x"})
			}
		})
	}
	wg.Wait()
	readers.Wait()
}

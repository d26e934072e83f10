package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// barEvery is how often a bar is drawn again: often enough to look alive.
	barEvery = 100 * time.Millisecond
	// lineEvery is how often a plain line is written where no terminal reads: seldom
	// enough for a log.
	lineEvery = 5 * time.Second
	barWidth  = 24
)

// progress tells on stderr how far a long command is: one line that is drawn over
// on a terminal, a plain line now and then elsewhere. It draws only when it is told
// of something, starts nothing, and is not safe for concurrent use. A quick command shows
// nothing: the first plain line comes after lineEvery, the first bar after barEvery.
type progress struct {
	w     io.Writer
	now   func() time.Time
	term  bool
	label string
	next  time.Time // when it is drawn again
	shown bool      // a bar stands on the terminal's line
}

func (a *app) progress(label string) *progress {
	p := &progress{w: a.Err, now: a.Now, term: a.terminal(a.Err), label: label}
	p.next = p.now().Add(p.every())
	return p
}

func (p *progress) every() time.Duration {
	if p.term {
		return barEvery
	}
	return lineEvery
}

// show says that done of total units (bytes, say) are done; total 0 is not known.
// detail is for people: "12 of 40 files".
func (p *progress) show(done, total int64, detail string) {
	now := p.now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(p.every())
	share := ""
	if total > 0 {
		share = fmt.Sprintf("%3d%% ", 100*min(done, total)/total)
	}
	if !p.term {
		fmt.Fprintf(p.w, "%s: %s%s\n", p.label, strings.TrimLeft(share, " "), detail)
		return
	}
	if total > 0 {
		n := int(barWidth * min(done, total) / total)
		share += "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "] "
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", cut(p.label+": "+share+detail, 79))
	p.shown = true
}

// clear takes the bar off the terminal: before other output, and at the end.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// cut shortens s to at most n runes, so that a bar stays on its line.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// printJSON prints one document on one line.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// jsonArray prints a long list as one JSON array, one element a line, without
// holding it in memory.
type jsonArray struct {
	w io.Writer
	n int
}

func (j *jsonArray) add(v any) error {
	sep := ",\n"
	if j.n == 0 {
		sep = "[\n"
	}
	j.n++
	var sb strings.Builder
	if err := printJSON(&sb, v); err != nil {
		return err
	}
	_, err := io.WriteString(j.w, sep+strings.TrimSuffix(sb.String(), "\n"))
	return err
}

func (j *jsonArray) close() error {
	end := "\n]\n"
	if j.n == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(j.w, end)
	return err
}

// printArray prints a short list as jsonArray does.
func printArray[T any](w io.Writer, list []T) error {
	j := jsonArray{w: w}
	for _, v := range list {
		if err := j.add(v); err != nil {
			return err
		}
	}
	return j.close()
}

// table prints aligned columns. Cells hold no colour: paint is asked for each
// cell as it is printed, so that escapes do not count as width.
type table struct {
	rows  [][]string
	width []int
	right map[int]bool // columns of numbers
	paint func(col int, s string) string
}

func newTable(head ...string) *table { return &table{rows: [][]string{head}} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// blockRows is how many rows are aligned together: a longer table is printed in
// blocks, so that memory stays bounded.
const blockRows = 1000

// addTo adds a row, and prints the block when it is full.
func (t *table) addTo(w io.Writer, cells ...string) error {
	t.add(cells...)
	if len(t.rows) < blockRows {
		return nil
	}
	return t.print(w)
}

// print prints the rows added since the last print. Columns never get narrower.
func (t *table) print(w io.Writer) error {
	width := t.width
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var sb strings.Builder
	for _, r := range t.rows {
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			shown := c
			if t.paint != nil {
				shown = t.paint(i, c)
			}
			switch {
			case t.right[i]:
				shown = pad + shown
			case i < len(r)-1:
				shown += pad
			}
			if i > 0 {
				sb.WriteString("  ")
			}
			sb.WriteString(shown)
		}
		sb.WriteByte('\n')
	}
	t.width, t.rows = width, nil
	_, err := io.WriteString(w, sb.String())
	return err
}

// colour says whether a writer shows colours: a terminal, and no NO_COLOR.
func (a *app) colour(w io.Writer) bool {
	return a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && a.terminal(w)
}

// terminal reports whether a writer is a terminal.
func (a *app) terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// The colours, for what is well, what is under way, and what is wrong.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

// printable makes a name safe for a terminal: control characters and what is not
// UTF-8 are escaped.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) && utf8.ValidString(s) {
		return s
	}
	var sb strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&sb, `\x%02x`, s[i])
		case r == '\n':
			sb.WriteString(`\n`)
		case r == '\t':
			sb.WriteString(`\t`)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&sb, `\u%04x`, r)
		default:
			sb.WriteRune(r)
		}
		i += n
	}
	return sb.String()
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func count(n uint64) string { return humanize.Comma(int64(n)) }

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}

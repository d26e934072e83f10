package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/textdiff"
)

// patch is the difference of one path as text.
type patch struct {
	text bool   // body is a unified diff, "" if only attributes differ
	body string // ends in a newline if it is not ""
	why  string // why there is none
}

// lines counts what a patch adds and removes.
func (p patch) lines() (add, del uint64) {
	for i, l := range strings.Split(p.body, "\n") {
		switch {
		case i < 2: // the labels
		case strings.HasPrefix(l, "+"):
			add++
		case strings.HasPrefix(l, "-"):
			del++
		}
	}
	return add, del
}

// patch reads both versions, of bounded size, and compares them.
func (d *differ) patch(x control.PathChange) (patch, error) {
	if x.Old != nil && x.New != nil && x.Old.Content == x.New.Content && x.Old.Target == x.New.Target {
		return patch{text: x.New.Kind == "file", why: x.New.Kind}, nil
	}
	for _, s := range []*control.PathState{x.Old, x.New} {
		switch {
		case s == nil:
		case s.Kind == "directory":
			return patch{why: "directory"}, nil
		case s.Kind == "symlink": // patch refuses to follow or to make one
			return patch{why: "symlink" + targets(x)}, nil
		case s.Size > textdiff.MaxSize:
			return patch{why: "large"}, nil
		}
	}
	oldPath, oldB64 := x.Path, x.PathB64
	if x.From != "" && x.Old != nil {
		oldPath, oldB64 = x.From, x.FromB64
	}
	a, err := d.bytes(d.info.Folder, oldPath, oldB64, x.Old)
	if err != nil {
		return patch{}, err
	}
	b, err := d.bytes(d.info.NewFolder, x.Path, x.PathB64, x.New)
	if err != nil {
		return patch{}, err
	}
	if !textdiff.IsText(a) || !textdiff.IsText(b) {
		return patch{why: "binary"}, nil
	}
	from, to := "/dev/null", "/dev/null"
	if x.Old != nil {
		from = label("a/", oldPath, oldB64)
	}
	if x.New != nil {
		to = label("b/", x.Path, x.PathB64)
	}
	return patch{text: true, body: textdiff.Unified(from, to, a, b)}, nil
}

// targets is where a symlink led and leads.
func targets(x control.PathChange) (s string) {
	if x.Old != nil && x.Old.Kind == "symlink" {
		s = " " + printable(x.Old.Target)
	}
	if x.New != nil && x.New.Kind == "symlink" {
		s += " -> " + printable(x.New.Target)
	}
	return s
}

// bytes is a version's content; nothing for nil.
func (d *differ) bytes(folder, path, b64 string, s *control.PathState) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	raw, err := control.DecodePath(path, b64)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	err = d.svc.Cat(d.ctx, control.CatRequest{
		Target: control.Target{Folder: folder, Rel: control.RawPath(raw)}, Rev: revNumber(s.Revision),
	}, func(control.CatInfo) io.Writer { return &buf })
	if err != nil {
		return nil, errorf("read %s@%d: %w", printable(path), s.Revision, err)
	}
	return buf.Bytes(), nil
}

func revNumber(r uint64) control.Rev {
	return control.Rev{Kind: control.RevNumber, Number: r, Text: fmt.Sprint(r)}
}

// label is a path in a patch, quoted where it has to be as git and patch do: bytes
// that do not print in octal.
func label(side, path, b64 string) string {
	if raw, err := control.DecodePath(path, b64); err == nil {
		path = raw
	}
	if !strings.ContainsAny(path, "\"\\") && printable(path) == path {
		return side + path
	}
	var sb strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c == '"' || c == '\\':
			sb.WriteByte('\\')
			sb.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&sb, "\\%03o", c)
		default:
			sb.WriteByte(c)
		}
	}
	return `"` + side + sb.String() + `"`
}

func (d *differ) printPatch(x control.PathChange, p patch) error {
	if x.Carried {
		return nil
	}
	var sb strings.Builder
	fmt.Fprintf(&sb, "# %s %s", x.Action, changePath(x))
	switch {
	case p.text && p.body != "":
		if x.Old != nil && x.New != nil && x.Old.Mode != x.New.Mode {
			fmt.Fprintf(&sb, " (mode %s -> %s)", x.Old.Mode, x.New.Mode)
		}
	case p.text && changeSize(x) != "":
		fmt.Fprintf(&sb, " (%s)", changeSize(x))
	case p.text:
	default:
		fmt.Fprintf(&sb, ": %s", p.why)
		if s := changeSize(x); s != "" {
			sb.WriteString(", " + s)
		}
	}
	sb.WriteByte('\n')
	if d.a.colour(d.a.Out) {
		p.body = painted(p.body)
	}
	sb.WriteString(p.body)
	_, err := io.WriteString(d.a.Out, sb.String())
	return err
}

// painted colours a patch's lines.
func painted(s string) string {
	var sb strings.Builder
	for l := range strings.Lines(s) {
		c := ""
		switch l[0] {
		case '+':
			c = green
		case '-':
			c = red
		case '@':
			c = yellow
		}
		if c == "" {
			sb.WriteString(l)
			continue
		}
		sb.WriteString(c + strings.TrimSuffix(l, "\n") + plain + "\n")
	}
	return sb.String()
}

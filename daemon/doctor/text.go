package doctor

import (
	"net"
	"path/filepath"
	"strings"
	"time"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
)

func join(names []string) string { return strings.Join(names, ", ") }

func (h Home) settings() string { return filepath.Clean(conf.Path(h.Path)) }

// shellQuote quotes s for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// span is a time for people: a second's precision is enough.
func span(d time.Duration) string {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// cutPort parts HOST:PORT.
func cutPort(a string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(a)
	return host, port, err == nil
}

package cli

import (
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// checkStatus returns an error of class problems that names all that is not well.
func checkStatus(st control.Status, now time.Time) error {
	bad := control.Problems(st, now)
	if len(bad) == 0 {
		return nil
	}
	return control.Errorf(control.CodeProblems, "status of node %s: %s", st.Node.Name, strings.Join(bad, "; ")).
		WithHint("see `lockstep status`")
}

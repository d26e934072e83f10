package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func TestCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fake.OnFolders = func() ([]control.Folder, error) { return []control.Folder{{Name: "docs"}, {Name: "photos"}}, nil }
	w.fake.OnNodes = func() ([]control.ClusterMember, error) { return []control.ClusterMember{{Name: "desk"}}, nil }
	w.fake.OnConflicts = func(_ control.ConflictsRequest, emit func(control.Conflict) error) error {
		for range 2 * maxComplete {
			if err := emit(control.Conflict{ID: "docs#7", Path: "a\nb"}); err != nil {
				return err
			}
		}
		return nil
	}
	const noFiles, files, dirs, more = ":4", ":0", ":16", ":2"
	check := func(line string, want ...string) {
		t.Helper()
		args := strings.Split(line, " ")
		out := strings.Split(strings.TrimSpace(w.run(t, 0, append([]string{"__complete"}, args...)...)), "\n")
		if strings.Join(out, "|") != strings.Join(want, "|") {
			t.Errorf("%q: got %q, want %q", line, out, want)
		}
	}
	for line, want := range map[string][]string{
		"folder rm ":           {"docs", "photos", noFiles},
		"folder rm p":          {"photos", noFiles},
		"folder rm docs ":      {noFiles},
		"wait d":               {"docs", noFiles},
		"conflicts --folder d": {"docs", noFiles},
		"log ":                 {files},
		"log do":               {"docs", more},
		"log zz":               {files},
		"log ./d":              {files},
		"cat docs:a":           {files},
		"rollback ph":          {"photos", more},
		"up ":                  {dirs},
		"folder add ":          {dirs},
		"up --name ":           {"docs", "photos", noFiles},
		"init --name ":         {noFiles},
		"up --prefer ":         {"cluster", "mine", "both", noFiles},
		"invite --role ":       {"auto", "voter", "learner", noFiles},
		"join ":                {noFiles},
		"status --home ":       {dirs},
	} {
		check(line, want...)
	}
	a := &app{Deps: w.Deps}
	if words, _ := a.complete("", a.nodeNames); len(words) != 1 || words[0] != "desk" {
		t.Errorf("nodes: %q", words)
	}
	if words, _ := a.complete("docs#", a.conflictIDs); len(words) != maxComplete || words[0] != "docs#7\ta\\nb" {
		t.Errorf("conflicts: %d words, the first %q", len(words), words[0])
	}
	// No answer, no words, and no complaint on the prompt.
	w.fake.OnFolders = func() ([]control.Folder, error) { return nil, errors.New("not running") }
	check("folder rm ", noFiles)
	check("log do", files)
}

package meta

import "errors"

// Reload reads the state anew: after the store was replaced.
func (m *Machine) Reload() error {
	db, release := m.dbs.Acquire()
	defer release()
	n, err := reads{db}.applied()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = n
	return nil
}

// ApplyBatch applies log entries with one write to the store.
func (m *Machine) ApplyBatch(entries []IndexedEntry) error {
	return errors.New("apply: not yet")
}

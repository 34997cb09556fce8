package crdt

import "fmt"

// Fits returns an error that matches ErrKindMismatch if u is of another kind than the value, or puts a value under a key of
// a map that shows one of another kind. Apply takes the latter, and then one of the two is not shown. It looks at nothing but
// the keys in u.
func (e *Entity) Fits(u *Update) error {
	if e.kind == 0 || e.tomb != nil {
		return nil
	}
	if e.kind != u.Kind {
		return fmt.Errorf("updating a %v as a %v: %w", e.kind, u.Kind, ErrKindMismatch)
	}
	m, ok := e.root.(*omap)
	if !ok {
		return nil
	}
	return m.fits(u)
}

func (m *omap) fits(u *Update) error {
	for i := range u.Put {
		c := &u.Put[i]
		there := m.shown(c.Key)
		if there == nil || c.Update == nil || removed(u, c.Key) {
			continue
		}
		if is := there.value.kind(); is != c.Update.Kind {
			return fmt.Errorf("putting a %v where a %v is, in entry %d of %d: %w", c.Update.Kind, is, i+1, len(u.Put), ErrKindMismatch)
		}
		if below, ok := there.value.(*omap); ok {
			if err := below.fits(c.Update); err != nil {
				return fmt.Errorf("in entry %d of %d: %w", i+1, len(u.Put), err)
			}
		}
	}
	return nil
}

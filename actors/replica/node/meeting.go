package node

// meet a writer that is not in the view. It has just joined, or it is gone: the view tells when it is read again, and until
// then nobody can ask it for anything, nor tell it what has come.
func (p *partition) meet(o *origin) {
	if o.metAt.IsZero() || p.now.Sub(o.metAt) >= p.config.RetryMax {
		o.metAt = p.now
		p.refresh.want()
		p.soon = true
	}
}

// met does what waited for a member to be known.
func (p *partition) met() {
	for r := range p.fetchers.each() {
		r.fetchAt = p.now
	}
	for _, o := range byIdentity(p.origins) {
		if !o.pullAt.IsZero() {
			o.pullAt = p.now
		}
	}
	p.progress()
	p.soon = true
}

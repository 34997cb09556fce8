package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// profile loads every row once more while its processes write CPU profiles, so that no measurement pays for it. The
// files are named row-process.pprof.
func (s *stage) profile(ctx context.Context, o options, rows []row, progress io.Writer) error {
	if err := os.MkdirAll(o.profile, 0o755); err != nil {
		return fmt.Errorf("make a folder for profiles: %w", err)
	}

	for _, r := range rows {
		if r.system == nil {
			continue
		}

		group, ctx := errgroup.WithContext(ctx)
		l := load{callers: o.callers, warmup: o.warmup, duration: o.duration, seed: o.seed, opened: func() {
			for who, base := range r.system.profiles {
				group.Go(func() error {
					url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", base, max(1, int(o.duration.Seconds())))
					file := filepath.Join(o.profile, fmt.Sprintf("%s-%s.pprof", r.name, who))

					if err := download(ctx, url, file); err != nil {
						fmt.Fprintf(progress, "no profile of %s in %s: %v\n", who, r.name, err)

						return nil
					}

					fmt.Fprintf(progress, "profile of %s in %s: %s\n", who, r.name, file)

					return nil
				})
			}
		}, closed: func() {}}

		if _, err := l.run(ctx, r.send, r.ids); err != nil {
			return fmt.Errorf("profile %s: %w", r.name, err)
		}

		_ = group.Wait() // a process without profiles has been told of
	}

	return nil
}

func download(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err //nolint:wrapcheck // it names the URL
	}

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err //nolint:wrapcheck // it names method and URL
	}
	defer response.Body.Close()

	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, response.Status)
	}

	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}

	return os.WriteFile(file, data, 0o600) //nolint:wrapcheck // it names the file
}

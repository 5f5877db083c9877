import tseslint from 'typescript-eslint';

/**
 * The folder tree of src/ is the architecture: a folder may import from its own tier and from lower tiers,
 * never upwards. docs/architecture.md explains the tiers; this list is what enforces them.
 */
const tiers = [
  ['core'],
  ['store', 'catalog'],
  ['engine', 'packages', 'templates', 'sandbox', 'dedup', 'oci'],
  ['service'],
  ['server', 'snapshotter', 'cli'],
];

const tierRules = tiers.flatMap((folders, tier) =>
  folders.map((folder) => {
    const higher = tiers.slice(tier + 1).flat();
    return {
      files: [`src/${folder}/**/*.ts`],
      rules: {
        'no-restricted-imports': [
          'error',
          {
            patterns: higher.map((name) => ({
              group: [`**/${name}/**`, `../${name}/*`],
              message: `src/${folder} is tier ${tier}; it must not import src/${name}, which stands above it.`,
            })),
          },
        ],
      },
    };
  }),
);

/** Tier 0 does no I/O beyond the configuration file. */
const coreRules = {
  files: ['src/core/**/*.ts'],
  ignores: ['src/core/config.ts'],
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      { patterns: [{ group: ['node:fs', 'node:fs/*', 'node:child_process', 'node:net'], message: 'src/core does no I/O.' }] },
    ],
  },
};

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'node_modules/', 'coverage/', 'bench/results/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.check.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      // What is held to the end of a block need not be named again.
      '@typescript-eslint/no-unused-vars': ['error', { ignoreUsingDeclarations: true }],
      // Numbers and booleans in templates are readable and safe.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // Async functions without await keep one signature for all implementations of an interface.
      '@typescript-eslint/require-await': 'off',
      eqeqeq: 'error',
    },
  },
  ...tierRules,
  coreRules,
);

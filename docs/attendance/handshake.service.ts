import { Agent } from 'node:http';
import axios, { isAxiosError, type AxiosInstance, type AxiosRequestConfig } from 'axios';

/** Which side of a handshake something is said about. */
export type Part = 'user' | 'business';

/** How the proxy came by an entity: `hit` and `stale` are copies, `stale` one past its freshness. */
export type Source = 'hit' | 'stale' | 'miss';

export interface User {
  /** Internal UUID: for relations and URLs. It never changes. */
  id: string;
  /** External id: the one that the user service gave, and that every method takes unless it says otherwise. */
  userId: string;
  name: string | null;
  email: string | null;
  phone: string | null;
  avatar: string | null;
  kahaId: string | null;
  departmentId: string | null;
  isFieldWorker: boolean | null;
  /** RFC 3339. */
  lastSyncedAt: string;
  version: number;
  /** There only if this is a copy past its freshness. */
  source?: 'stale';
}

export interface Business {
  /** Internal UUID. */
  id: string;
  /** External id. */
  businessId: string;
  name: string | null;
  address: string | null;
  avatar: string | null;
  kahaId: string | null;
  lastSyncedAt: string;
  version: number;
  /** There only if this is a copy past its freshness. */
  source?: 'stale';
}

export interface LoginHandshake {
  user: User;
  business: Business;
  source: Record<Part, Source>;
}

export interface UserBatch {
  users: User[];
  /** External ids that the user service does not know. */
  missing: string[];
  /** External ids that could not be asked about and are not held: ask again later. */
  failed: string[];
}

/** What the attendance service adds to a user. A refresh does not touch it; null takes a value away. */
export interface LocalAttributes {
  departmentId?: string | null;
  isFieldWorker?: boolean | null;
}

export interface Erasure {
  erased: true;
  /** `replica`: only the store beside this replica; the others have to be told as well. */
  scope: 'replica' | 'shared';
}

/** What is wrong with one member or parameter of a call. */
export interface Fault {
  at: string;
  detail: string;
}

export interface HandshakeOptions {
  /** Where the handshake listener of the proxy is. */
  baseUrl?: string | undefined;
  /** The bearer token, where the proxy has a `handshake.token_file`. */
  token?: string | undefined;
}

/**
 * A call of this service that failed. There is no `cause`: the error of axios holds the token and the ids of the
 * request, and whoever logs an error logs its cause.
 */
export class HandshakeError extends Error {
  constructor(
    message: string,
    /** The HTTP status, or null if there was no answer. */
    readonly status: number | null,
  ) {
    super(message);
    this.name = new.target.name;
  }
}

/** The owner says that there is no such user or business; for calls about the copy alone: nothing is held. */
export class HandshakeNotFoundError extends HandshakeError {
  constructor(readonly parts: readonly Part[]) {
    super(`not found: ${parts.join(' and ')}`, 404);
  }
}

/** The owner could not be asked and no copy is held, or the proxy itself did not answer. */
export class HandshakeUnavailableError extends HandshakeError {
  constructor(
    message: string,
    status: number | null,
    /** Seconds to wait before another try is worth it; null if nobody said. */
    readonly retryAfter: number | null,
  ) {
    super(message, status);
  }
}

/** The call itself is wrong, such as an internal id in the place of an external one. */
export class HandshakeRejectedError extends HandshakeError {
  constructor(readonly faults: readonly Fault[]) {
    super(`rejected: ${faults.map(({ at, detail }) => `${at} ${detail}`).join('; ')}`, 422);
  }
}

interface StalePage {
  users: User[];
  next: string | null;
}

const BATCH = 100;
const PAGE = 100;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * The handshake of the attendance service: each method is one call to the proxy beside it.
 *
 * It has no decorators, so that it depends on nothing but axios. In NestJS a module provides it like this, and then
 * it is injected by its class:
 *
 *   providers: [{
 *     provide: HandshakeService,
 *     inject: [ConfigService],
 *     useFactory: (config: ConfigService) =>
 *       new HandshakeService({ baseUrl: config.get('HANDSHAKE_URL'), token: config.get('HANDSHAKE_TOKEN') }),
 *   }],
 *   exports: [HandshakeService],
 */
export class HandshakeService {
  private readonly http: AxiosInstance;

  constructor({ baseUrl = 'http://127.0.0.1:8081', token }: HandshakeOptions = {}) {
    this.http = axios.create({
      baseURL: baseUrl,
      // The proxy gives up on its upstream after 4 s and retries by itself: a retry here would only multiply that.
      timeout: 5_000,
      // An idle connection is dropped before the proxy does it after 75 s, so that no call meets a closing one.
      httpAgent: new Agent({ keepAlive: true, timeout: 30_000 }),
      // Otherwise axios would send calls to loopback through the HTTP_PROXY of the environment.
      proxy: false,
      maxRedirects: 0,
      // A 200 that is not JSON is somebody else's answer, and has to be an error.
      responseType: 'json',
      transitional: { silentJSONParsing: false },
      headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    });
  }

  /** Both sides of a login, asked for in parallel by the proxy. */
  performLoginHandshake(userId: string, businessId: string): Promise<LoginHandshake> {
    return this.post('/v1/login', { userId, businessId });
  }

  /** The user, fetched from its owner if it is not held. */
  ensureUserExists(userId: string): Promise<User> {
    return this.post('/v1/users/ensure', { userId });
  }

  /** The business, fetched from its owner if it is not held: also what a switch of the business needs. */
  ensureBusinessExists(businessId: string): Promise<Business> {
    return this.post('/v1/businesses/ensure', { businessId });
  }

  /** Many users at once. An id that is not found or could not be asked about does not fail the others. */
  async ensureUsersExist(userIds: readonly string[]): Promise<UserBatch> {
    const ids = [...new Set(userIds)];
    const all: UserBatch = { users: [], missing: [], failed: [] };
    for (let start = 0; start < ids.length; start += BATCH) {
      const batch = await this.post<UserBatch>('/v1/users/ensure-batch', {
        userIds: ids.slice(start, start + BATCH),
      });
      all.users.push(...batch.users);
      all.missing.push(...batch.missing);
      all.failed.push(...batch.failed);
    }
    return all;
  }

  /** Whether the user is held. Never asks its owner. */
  async checkUserExistsLocally(userId: string): Promise<boolean> {
    return (await this.post<{ exists: boolean }>('/v1/users/exists', { userId })).exists;
  }

  /** Note that the user was synced now. It fetches nothing: `refreshUser` does. */
  async updateUserSyncTimestamp(userId: string): Promise<void> {
    await this.post('/v1/users/synced', { userId });
  }

  /** All users that were last synced more than so many hours ago. */
  async getStaleUsers(hoursOld: number): Promise<User[]> {
    const users: User[] = [];
    let cursor: string | null = null;
    do {
      // axios leaves a parameter out that is null.
      const params = { hours: hoursOld, limit: PAGE, cursor };
      const page: StalePage = await this.call({ url: '/v1/users/stale', params });
      users.push(...page.users);
      cursor = page.next;
    } while (cursor !== null);
    return users;
  }

  /** The user as its owner has it now. Unavailable if the owner can't be asked, even if a copy is held. */
  refreshUser(userId: string): Promise<User> {
    return this.post('/v1/users/refresh', { userId });
  }

  /** Set the local attributes that are given, by internal id. */
  async setLocalAttributes(id: string, attributes: LocalAttributes): Promise<User> {
    return this.call({ method: 'PATCH', url: userPath(id), data: attributes });
  }

  /** Erase what is held of the user, by internal id. Its owner is not told. */
  async eraseUser(id: string): Promise<Erasure> {
    return this.call({ method: 'DELETE', url: userPath(id) });
  }

  private post<T>(url: string, data: unknown): Promise<T> {
    return this.call({ method: 'POST', url, data });
  }

  private async call<T>(request: AxiosRequestConfig): Promise<T> {
    try {
      return (await this.http.request<T>(request)).data;
    } catch (error) {
      throw handshakeError(error);
    }
  }
}

/** External ids must not get into URLs, which are logged: what does not look internal is not sent. */
function userPath(id: string): string {
  if (!UUID.test(id)) {
    throw new HandshakeRejectedError([{ at: 'id', detail: 'must be an internal id, a UUID' }]);
  }
  return `/v1/users/${id}`;
}

/** RFC 9457. The `errors` name the members of the request that the answer is about. */
interface Problem {
  detail?: string;
  errors?: { pointer?: string; parameter?: string; detail: string }[];
}

function handshakeError(error: unknown): HandshakeError {
  if (!isAxiosError(error)) {
    return new HandshakeError('the handshake call failed', null);
  }
  const { response, code } = error;
  if (response === undefined) {
    return new HandshakeUnavailableError(`no answer from the proxy (${code ?? 'unknown'})`, null, null);
  }
  const { status, headers } = response;
  const problem = problemOf(headers['content-type'], response.data);
  const faults = (problem.errors ?? []).map(
    ({ pointer, parameter, detail }): Fault => ({
      at: pointer?.replace('#/', '') ?? parameter ?? '',
      detail,
    }),
  );
  // An absence names what is absent. Any other 404 is of a wrong base URL, and must not pass for one.
  if (status === 404 && faults.length > 0) {
    return new HandshakeNotFoundError(faults.map(({ at }) => (at === 'businessId' ? 'business' : 'user')));
  }
  if (status === 422) {
    return new HandshakeRejectedError(faults);
  }
  const message = problem.detail ?? `the answer was ${status}, and not one of the proxy`;
  if (status === 503) {
    const seconds = String(headers['retry-after']);
    return new HandshakeUnavailableError(message, status, /^\d+$/.test(seconds) ? Number(seconds) : null);
  }
  return new HandshakeError(message, status);
}

function problemOf(contentType: unknown, data: unknown): Problem {
  const described = String(contentType).startsWith('application/problem+json');
  return described && typeof data === 'object' && data !== null ? data : {};
}
